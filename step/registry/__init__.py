"""An image registry's client: HTTP that trusts nobody, credentials, manifests."""
