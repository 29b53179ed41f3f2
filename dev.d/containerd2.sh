#!/bin/bash
# containerd 2.x for the fault table: Debian 12 has 1.6 only, the Go module proxy has the rest.
# Leaves .deps/containerd2/bin/{containerd,ctr}; about 90 s of CPU, 400 MB of Go's caches.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v2.4.2
if [ -x .deps/containerd2/bin/containerd ] && [ -x .deps/containerd2/bin/ctr ]; then exit 0; fi
if ! command -v go >/dev/null; then
  echo "containerd2: no go here (1.26 or newer): the rows of containerd 2.x are skipped" >&2
  exit 1
fi
module=github.com/containerd/containerd/v2
CGO_ENABLED=0 GOBIN="$PWD/.deps/containerd2/bin" \
  go install "$module/cmd/containerd@$version" "$module/cmd/ctr@$version"
