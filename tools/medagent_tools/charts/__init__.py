# SPDX-License-Identifier: Apache-2.0
"""Tools over the chart: what is recorded of the one patient that the run binds, with the ids of what it rests on."""
