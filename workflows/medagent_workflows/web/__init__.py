# SPDX-License-Identifier: Apache-2.0
"""The web: SMART launches and the page that a clinician sees after one."""
