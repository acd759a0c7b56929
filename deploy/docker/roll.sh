#!/bin/sh
# Replaces every container of a service (worker or gateway) by one of the image that is there now, and cuts no call:
# as many new ones are started beside the old ones, and when they are ready the old ones finish their calls and go.
# It stops at the first one that is not ready in time, or will not be (`bot_failed`): the new ones are taken away again,
# and the old ones have never stopped. For that long it takes twice the memory. Run it where docker-compose.yml is, after `docker compose build`.
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

new=
for id in $(docker compose ps -q "$service"); do
  case $old in *"$id"*) ;; *) new="$new $id" ;; esac
done

give_up() {
  docker logs --tail 20 "$1" >&2 || true
  echo "$1 is not ready: $2" >&2
  echo "the old ones stay, the new ones are taken away" >&2
  # shellcheck disable=SC2086 # ids, one a word
  docker stop $new > /dev/null # those that were ready may have calls: they finish them
  # shellcheck disable=SC2086
  docker rm $new > /dev/null
  exit 1
}

left_s=$ready_within_s
for id in $new; do
  until said=$(docker exec "$id" python -m shared.process.healthcheck "$port" /readyz 2>&1); do
    case $said in *'"readiness":"bot_failed"'*) give_up "$id" "$said" ;; esac
    if [ "$left_s" -le 0 ]; then
      give_up "$id" "$said"
    fi
    left_s=$((left_s - 1))
    sleep 1
  done
done

# shellcheck disable=SC2086 # ids, one a word
docker stop $old > /dev/null
# shellcheck disable=SC2086
docker rm $old > /dev/null
