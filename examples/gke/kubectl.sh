#!/usr/bin/env bash
# Deploys what was attested with `kubectl set image`.
#
#   DEPLOYMENT=web CONTAINER=web kubectl.sh receipts.json
#
# A pod that Binary Authorization denies is never created, so the rollout does not end, and this
# fails after the timeout; `kubectl get events` has the reason.
set -euo pipefail
: "${DEPLOYMENT:?the deployment}" "${CONTAINER:?the container in it}"

image=$("$(dirname "$0")/attested-image.sh" "${1:?the file with the receipts}")
kubectl set image "deployment/$DEPLOYMENT" "$CONTAINER=$image"
kubectl rollout status "deployment/$DEPLOYMENT" --timeout="${TIMEOUT:-5m}"
