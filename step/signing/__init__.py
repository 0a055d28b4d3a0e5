"""The one real port: a signer, with Cloud KMS, OpenPGP, PKIX and signatures made elsewhere."""
