# SPDX-License-Identifier: Apache-2.0
"""Images: which the chart names, where their pixels come from, and how they are made small enough for a model."""
