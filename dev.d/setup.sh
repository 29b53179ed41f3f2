#!/bin/bash
# Brings a Debian 12 machine to where waggle builds: missing packages, msgpack's headers, pinned clang tools.
# Idempotent: looks at what is there, and is done in under a second when nothing is missing.
#   setup.sh [LIST...]    files of package names; default dev.d/packages.txt
set -euo pipefail
cd "$(dirname "$0")/.."

lists=("$@")
if [ $# = 0 ]; then lists=(dev.d/packages.txt); fi

say() { printf 'setup: %s\n' "$*"; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    echo "setup: needs root for: $*" >&2
    exit 1
  fi
}

missing_packages() {
  local wanted installed
  wanted=$(grep -hv '^#' "${lists[@]}" | sort)
  installed=$(dpkg-query -W -f='${db:Status-Abbrev}${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^ii //p' | sort) || true
  comm -23 <(echo "$wanted") <(echo "$installed")
}

apt_updated=false
apt_update() {
  if ! $apt_updated; then as_root apt-get update -qq; fi
  apt_updated=true
}

# Packages start their services on install. A policy that forbids it stands there meanwhile, unless
# the machine has one of its own.
policy=/usr/sbin/policy-rc.d
our_policy=false
forbid_services() {
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
    our_policy=true
  fi
}
allow_services() { if $our_policy; then as_root rm -f $policy; fi; }

install_packages() {
  local missing
  missing=$(missing_packages)
  if [ -z "$missing" ]; then return; fi
  say "installing" $missing
  trap allow_services EXIT
  forbid_services
  apt_update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
    >.deps/apt.log 2>&1 || { tail -20 .deps/apt.log >&2; exit 1; }
}

# Installed as a package, msgpack-c's headers would pull in Boost 1.74 beside 1.81; unpacked they don't.
unpack_msgpack() {
  if [ -e .deps/msgpack/usr/include/msgpack.hpp ]; then return; fi
  say "unpacking libmsgpack-cxx-dev into .deps/msgpack"
  apt_update
  local dir
  dir=$(mktemp -d .deps/msgpack-XXXXXX)
  (cd "$dir" && apt-get -o APT::Sandbox::User=root download -qq libmsgpack-cxx-dev)
  rm -rf .deps/msgpack
  dpkg-deb -x "$dir"/*.deb .deps/msgpack
  rm -rf "$dir"
}

install_clang_tools() {
  local stamp=.deps/venv/requirements.stamp
  if cmp -s dev.d/requirements.txt $stamp; then return; fi
  say "installing $(tr '\n' ' ' <dev.d/requirements.txt)into .deps/venv"
  python3 -m venv .deps/venv
  .deps/venv/bin/pip install --quiet --disable-pip-version-check -r dev.d/requirements.txt
  cp dev.d/requirements.txt $stamp
}

mkdir -p .deps
install_packages
unpack_msgpack
install_clang_tools
