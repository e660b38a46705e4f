#!/bin/sh
# Installs what `npm run test:runtimes` needs and `npm ci` does not bring, where it is missing: browsers from Debian's
# packages, as root, and the newest Node in a folder of its own. MiniBrowser comes with WebKitWebDriver's libraries.
set -eu
cd "$(dirname "$0")"

packages=
need() { command -v "$1" >/dev/null || packages="$packages $2"; }
need chromium chromium
need firefox-esr firefox-esr
need WebKitWebDriver webkit2gtk-driver
need Xvfb xvfb
if [ -n "$packages" ]; then
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi
npm install --prefix newest-node --loglevel error
