#!/bin/sh
# Makes what docker-compose.yml reads below ./secrets, and leaves alone what is there: keys of the fleet's own, empty files
# for the keys of your providers, and a certificate that nobody has signed for $PUBLIC_HOST (and $PUBLIC_ADDRESS), until you
# bring yours.
#
# Containers run as users of their own, so the files are readable to all; the folder is to its owner only.
set -eu
folder=${1:-secrets}
host=${PUBLIC_HOST:-bots.example.com}
address=${PUBLIC_ADDRESS:-127.0.0.1}
mkdir -p -m 700 "$folder"
mkdir -p -m 755 "$folder/tls"

for name in SFVOPI_TOKEN_SECRETS SFVOPI_API_TOKEN SFVOPI_WEBHOOK_SECRETS GRAFANA_ADMIN_PASSWORD; do
  [ -e "$folder/$name" ] || openssl rand -hex 32 > "$folder/$name"
done
for name in DEEPGRAM_API_KEY OPENAI_API_KEY CARTESIA_API_KEY ELEVENLABS_API_KEY; do
  [ -e "$folder/$name" ] || : > "$folder/$name"
done
if [ ! -e "$folder/tls/privkey.pem" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host,DNS:localhost,IP:$address" \
    -keyout "$folder/tls/privkey.pem" -out "$folder/tls/fullchain.pem" 2> /dev/null
  echo "$folder/tls: a certificate for $host that nobody has signed; no carrier takes it, put yours there" >&2
fi
find "$folder" -type f -exec chmod 644 {} +
