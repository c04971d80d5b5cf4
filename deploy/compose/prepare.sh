#!/usr/bin/env bash
# Writes the secrets of compose.yaml into ./secrets, and the configuration of Prometheus and Alertmanager into ./prometheus.
# Secrets that are there stay as they are. Takes `make setup` and openssl.
#
#   RECEIVER=URL   where Alertmanager sends alerts to, below it /operators, /projects and /watchdog;
#                  port 9095 of this machine without it
set -euo pipefail
cd "$(dirname "$0")"
programs=../../.venv/bin
[ -x "$programs/milepost" ] || { echo "there is no $programs/milepost: run \`make setup\` first" >&2; exit 1; }

# Others on this machine reach nothing in the folder; users of containers may read the files.
mkdir -p secrets
chmod 700 secrets
umask 022

write() { # NAME: what comes by standard input, unless the file is there
  if [ -e "secrets/$1" ]; then cat >/dev/null; else cat >"secrets/$1.new"; mv "secrets/$1.new" "secrets/$1"; fi
}

if [ ! -e secrets/roles.sql ]; then
  sql=$(cat roles.sql)
  for role in owner worker reader; do
    password=$(openssl rand -hex 24)
    sql=${sql/…/$password}
    printf 'postgresql://milepost_%s:%s@postgres:5432/milepost\n' "$role" "$password" >"secrets/database-$role"
  done
  write roles.sql <<<"$sql"
fi
openssl rand -hex 24 | write postgres-password
openssl rand -hex 24 | write grafana-password
if [ ! -e secrets/tokens.toml ]; then
  # The token itself, for publishers, goes to standard error.
  "$programs/milepost" gateway token desk --source //my-desk.example 2>secrets/gateway-token | write tokens.toml
fi

"$programs/python" -m deploy.prometheus prometheus --worker worker:8092 --gateway gateway:8092 \
  --alertmanager alertmanager:9093 --board http://127.0.0.1:8090 --grafana http://127.0.0.1:3000 \
  --receiver "${RECEIVER:-http://host.docker.internal:9095}" >/dev/null
echo "secrets are in $PWD/secrets: gateway-token is for publishers, grafana-password for the user admin of Grafana"
