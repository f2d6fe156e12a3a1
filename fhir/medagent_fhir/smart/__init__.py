# SPDX-License-Identifier: Apache-2.0
"""SMART App Launch 2.2 and backend services, from the client's side.

joserfc does what is cryptography: JWS, JWK and their checks. The protocol is ours: it is one redirect and three form
posts. Authlib was looked at and not taken: its refresh is guarded by a lock of one client object, so two processes, or
two requests that each make a client, send one refresh token twice; and it keeps tokens in plain dictionaries.
"""

from medagent_fhir.smart.launcher import Launcher
from medagent_fhir.smart.limits import SmartLimits
from medagent_fhir.smart.registry import Ehr, EhrRegistry
from medagent_fhir.smart.sessions import LaunchContext, SmartSession
from medagent_fhir.smart.signing_keys import SigningKeys

__all__ = ["Ehr", "EhrRegistry", "LaunchContext", "Launcher", "SigningKeys", "SmartLimits", "SmartSession"]
