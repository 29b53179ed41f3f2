#!/bin/bash
# Fetches the archives that subprojects/*.wrap name, as Debian source packages, into subprojects/packagefiles/.
# Only needed where a library is not installed; Meson then checks the hash in the wrap.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts"
# The machine's own package sources with their source halves; nothing of the machine is changed.
for file in /etc/apt/sources.list.d/*.sources; do
  if [ -e "$file" ]; then sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/parts/$(basename "$file")"; fi
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  if [ -e "$file" ]; then sed -n 's/^deb /deb-src /p' "$file" >"$work/parts/$(basename "$file" .list).list"; fi
done
options=(-o Dir::Etc::sourcelist=- -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update -qq 2>/dev/null || true
for wrap in subprojects/*.wrap; do
  file=$(sed -n 's/^source_filename = //p' "$wrap")
  hash=$(sed -n 's/^source_hash = //p' "$wrap")
  target=subprojects/packagefiles/$file
  if [ ! -e "$target" ]; then
    (cd "$work" && apt-get "${options[@]}" source --download-only -qq "${file%%_*}")
    cp "$work/$file" "$target"
  fi
  echo "$hash  $target" | sha256sum --check --quiet
  echo "wraps: $file is as its wrap says"
done
