#!/usr/bin/env bash
# Prints the image that receipts are for, as registry/repository@sha256:…
#
#   attested-image.sh receipts.json [REGISTRY/REPOSITORY]
#
# The receipts are what `binauthz-attest attest --output-file=receipts.json` writes. It fails if
# something was not attested, and unless exactly one image is meant; the images of an index's
# platforms (`--platforms all`) do not count, since a manifest names the index.
set -euo pipefail

jq --exit-status --raw-output --arg name "${2-}" '
  if .errors != [] then error("something was not attested") else . end
  | [.receipts[]
      | select(.status == "created" or .status == "existing")
      | select((.origin.source // "") | startswith("platform of ") | not)
      | .image
      | select($name == "" or startswith($name + "@"))]
  | unique
  | if length == 1 then .[0] else error("\(length) images, not one") end
' "${1:?the file with the receipts}"
