# SPDX-License-Identifier: Apache-2.0
"""The model seam: what is asked of a served model and what comes back. Clients import a server's way of speaking."""
