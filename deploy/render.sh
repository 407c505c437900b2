#!/bin/sh
# Writes the plain manifests beside this script from the Helm chart, for clusters without Helm:
#
#   flowwatch.yaml             flowwatch in a namespace of its own; needs Cilium and nothing else
#   flowwatch-prometheus.yaml  what Prometheus' operator and Grafana's sidecar read: monitor, rules, dashboards
#
#   sh deploy/render.sh [FOLDER]   into another folder
#
# `sh deploy/environment.sh dev` brings the Helm that it was rendered with; HELM names another.
set -eu

deploy=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
folder=${1:-$deploy}
helm=${HELM:-$deploy/../.venv/bin/helm}

render() { # render <file> <arguments of helm template>...
    output=$folder/$1
    shift
    {
        echo '# Written by deploy/render.sh from the chart in deploy/helm/flowwatch; docs/kubernetes.md says what to change.'
        "$helm" template flowwatch "$deploy/helm/flowwatch" --namespace flowwatch "$@"
    } >"$output.new"
    mv "$output.new" "$output"
}

render flowwatch.yaml --set namespace.create=true --set monitoring.dashboards.enabled=false
render flowwatch-prometheus.yaml \
    --set monitoring.serviceMonitor.enabled=true --set monitoring.prometheusRule.enabled=true \
    --show-only templates/monitors.yaml --show-only templates/dashboards.yaml
