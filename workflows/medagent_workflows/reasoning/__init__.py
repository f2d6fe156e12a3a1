# SPDX-License-Identifier: Apache-2.0
"""The model's part of a run: what it is told, what it may ask for, and what becomes of what it writes."""
