"""The parts of a picture file that its pixels need, told from the rest before decoding.

Text, profiles, previews and further frames never reach a decoder, so that nothing in them can cost
time or memory. A module for each kind of container knows of bytes alone; what is well formed, the
decoder judges.
"""
