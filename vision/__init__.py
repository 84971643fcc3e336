"""Decoding of pictures, detection of products in them, and their features."""

import os

# ONNX Runtime reads this when it is imported, which is always after this package. Without it, 1.32
# writes a device id under HOME and tries to send reports to its maker.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
