#!/usr/bin/env bash
# Deploys what was attested with helm: repository and digest become values of the chart, whose
# template puts them together and takes no tag:
#
#   image: "{{ .Values.image.repository }}@{{ required "image.digest" .Values.image.digest }}"
#
#   RELEASE=web CHART=./chart helm.sh receipts.json
set -euo pipefail
: "${RELEASE:?the release}" "${CHART:?the chart}"

image=$("$(dirname "$0")/attested-image.sh" "${1:?the file with the receipts}")
values=$(mktemp)
trap 'rm -f "$values"' EXIT
printf 'image:\n  repository: "%s"\n  digest: "%s"\n' "${image%@*}" "${image#*@}" >"$values"
helm upgrade --install "$RELEASE" "$CHART" --values="$values" --wait --timeout="${TIMEOUT:-5m}"
