# SPDX-License-Identifier: Apache-2.0
"""The client of FHIR R4 servers: the one place of MedAgent that sends a token to an EHR."""

from medagent_fhir.client.bodies import TooLong
from medagent_fhir.client.bulk import Export, ExportFile, ExportLevel, Manifest
from medagent_fhir.client.capabilities import Capabilities, TypeAbilities
from medagent_fhir.client.client import FhirClient, Parameters
from medagent_fhir.client.limits import ClientLimits
from medagent_fhir.client.quiet import silence_http_logs
from medagent_fhir.client.received import Received

__all__ = [
    "Capabilities",
    "ClientLimits",
    "Export",
    "ExportFile",
    "ExportLevel",
    "FhirClient",
    "Manifest",
    "Parameters",
    "Received",
    "TooLong",
    "TypeAbilities",
    "silence_http_logs",
]
