"""Which image did this build make, and which build is this?"""
