#!/bin/sh
# Replaces every container of a service (worker or gateway) by one of the image that is there now, and cuts no call:
# as many new ones are started beside the old ones, and when they are ready the old ones finish their calls and go.
# For that long it takes twice the memory. Run it where docker-compose.yml is, after `docker compose build`.
set -eu
service=${1:-worker}
ready_within_s=${READY_WITHIN_S:-120}
case $service in
  worker) port=9100 ;;
  gateway) port=9000 ;;
  *) echo "usage: roll.sh [worker|gateway]" >&2; exit 2 ;;
esac

old=$(docker compose ps -q "$service")
count=$(printf '%s\n' "$old" | grep -c .)
docker compose up -d --no-deps --no-recreate --no-build --scale "$service=$((2 * count))" "$service"

left_s=$ready_within_s
for id in $(docker compose ps -q "$service"); do
  case $old in *"$id"*) continue ;; esac
  until docker exec "$id" python -m shared.process.healthcheck "$port" /readyz; do
    if [ "$left_s" -le 0 ]; then
      echo "$id is not ready, see docker logs $id; the old ones stay" >&2
      exit 1
    fi
    left_s=$((left_s - 1))
    sleep 1
  done
done

# shellcheck disable=SC2086 # ids, one a word
docker stop $old > /dev/null
# shellcheck disable=SC2086
docker rm $old > /dev/null
