#!/bin/sh
# nginx as the first process of its container: fills the template in, and reloads when the certificate has changed.
# Needs the NGINX_… variables that the template names, and NGINX_TEMPLATE. A reload cuts no stream.
set -eu
names=$(env | sed -n 's/^\(NGINX_[A-Z_]*\)=.*/${\1}/p' | tr '\n' ' ')
envsubst "$names" < "$NGINX_TEMPLATE" > "$NGINX_RUN/nginx.conf"

certificate=${CERTIFICATE:-}
if [ -n "$certificate" ]; then
  seen=$(cksum < "$certificate") # before nginx reads it
  (
    while sleep "${CERTIFICATE_LOOK_S:-60}"; do
      now=$(cksum < "$certificate")
      if [ "$now" != "$seen" ] && nginx -p "$NGINX_RUN" -c "$NGINX_RUN/nginx.conf" -e stderr -s reload; then
        seen=$now
      fi
    done
  ) &
fi
exec nginx -p "$NGINX_RUN" -c "$NGINX_RUN/nginx.conf" -e stderr -g "daemon off;"
