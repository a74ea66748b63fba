#!/usr/bin/env bash
# Installs what tests/stage needs beyond .venv: Debian packages, and PyPI packages into .venv-stage.
# Does nothing if all of it is installed. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
need() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null || missing+=("$2"); }
need etcd etcd-server
need haproxy haproxy
need nginx nginx-light
need openssl openssl
need pgbouncer pgbouncer
need prometheus prometheus
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  # RUNLEVEL: the packages' services are not started.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

lock=tests/stage/requirements.lock
if ! cmp -s "$lock" .venv-stage/installed; then
  echo "Setting up .venv-stage." >&2
  # PostgreSQL refuses root, so as root the tests run Patroni as `nobody`, who may not be able to
  # read another interpreter. Debian's has no pip.
  python=${PYTHON:-python3}
  if [ "$(id -u)" = 0 ] && [ -x /usr/bin/python3 ]; then python=/usr/bin/python3; fi
  "$python" -m venv --clear --without-pip .venv-stage
  .venv/bin/pip --python .venv-stage/bin/python install --quiet --disable-pip-version-check \
    --require-hashes --no-deps -r "$lock"
  cp "$lock" .venv-stage/installed
fi
