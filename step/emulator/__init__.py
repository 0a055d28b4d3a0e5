"""Cloud KMS, Binary Authorization, Container Analysis and Cloud Build on loopback.

Real services' names, messages, checks and cryptography, without Google Cloud: for tests, for demos
and for a laptop. Nothing else of this program is imported here, so a mistake in the program cannot
also be in its judge.
"""

from step.emulator.calls import Call, CallLog
from step.emulator.emulator import Emulator
from step.emulator.faults import Fault
from step.emulator.refusal import EmulatorError
from step.emulator.seed import Seed
from step.emulator.webhook import AdmissionPort

__all__ = ["AdmissionPort", "Call", "CallLog", "Emulator", "EmulatorError", "Fault", "Seed"]
