#!/usr/bin/env bash
# Deploys what was attested with kustomize: the manifests say `image: web`, and the overlay says
# which image that is, by digest.
#
#   OVERLAY=examples/gke/kustomize DEPLOYMENT=web kustomize.sh receipts.json
set -euo pipefail
: "${OVERLAY:?the folder with kustomization.yaml}" "${DEPLOYMENT:?the deployment}"

image=$("$(dirname "$0")/attested-image.sh" "${1:?the file with the receipts}")
(cd "$OVERLAY" && kustomize edit set image "${NAME:-web}=$image")
kubectl apply --kustomize "$OVERLAY"
kubectl rollout status "deployment/$DEPLOYMENT" --timeout="${TIMEOUT:-5m}"
