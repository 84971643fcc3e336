#!/usr/bin/env bash
# Builds the image, and runs what docs/deploy-compose.md and docs/back-up.md say of containers, the
# main job included. Needs Docker Engine with Compose, and curl. It makes and removes containers,
# volumes and an image of its own, and leaves other stacks alone. Where there is a snapsku.env it
# refuses, since that may name your servers.
#
#   bash deploy/check_containers.sh [another Compose file, such as one with other servers]
set -euo pipefail
cd "$(dirname "$0")/.."

NAME=snapsku-check
export COMPOSE_PROJECT_NAME=$NAME IMAGE_TAG=check IMAGE_TARGET=cpu
export API_PORT=${API_PORT:-18400} FLOWER_PORT=${FLOWER_PORT:-18401} TORCH_INDEX_URL=${TORCH_INDEX_URL:-}
export COMPOSE_FILE=docker-compose.yml${1:+:$1} COMPOSE_PROFILES=
IMAGE=snapsku:$IMAGE_TAG
API=http://127.0.0.1:$API_PORT
FLOWER=http://127.0.0.1:$FLOWER_PORT
work=$(mktemp -d)

say() { printf '== %s\n' "$*"; }
fail() {
    printf 'FAILED: %s\n' "$*" >&2
    docker compose logs --tail 20 >&2 || true
    exit 1
}

clean() {
    docker rm --force --volumes $NAME-one >"$work/clean" 2>&1 || true
    docker compose down --volumes --timeout 5 >>"$work/clean" 2>&1 || true
    docker volume rm $NAME-one $NAME-two >>"$work/clean" 2>&1 || true
    docker image rm $IMAGE >>"$work/clean" 2>&1 || true
    rmdir secrets 2>>"$work/clean" || true
    rm -rf "$work"
}

[ ! -e snapsku.env ] && [ ! -e .env ] || {
    echo "check_containers: move snapsku.env and .env away, this check wants the defaults" >&2
    exit 2
}
docker compose version && docker version --format 'Docker Engine {{.Server.Version}}'
trap clean EXIT
trap 'echo "FAILED: line $LINENO" >&2' ERR

# Reads a member of the JSON on standard input, such as ['api_key'].
member() { docker run --rm --interactive $IMAGE python -c "import json, sys; print(json.load(sys.stdin)$1)"; }

call() { # key, operation, body
    curl --silent --show-error --max-time 30 "$API/v1/$2" -H "Authorization: Bearer $1" \
        -H 'Content-Type: application/json' -d "$3"
}

await_ready() { # address
    for _ in $(seq 180); do
        curl --silent --fail --max-time 5 "$1/readyz" >"$work/ready" 2>&1 && return
        sleep 1
    done
    cat "$work/ready" >&2
    fail "$1 was not ready after 180 s"
}

main_job() { # network, address, key; the client is in the image, the samples are in the checkout
    printf %s "$3" >"$work/key"
    docker run --rm --user "$(id -u):$(id -g)" --network "$1" --env HOME=/tmp \
        --volume "$PWD:/checkout:ro" --volume "$work/key:/key:ro" --workdir /checkout \
        $IMAGE python -m tools.demo --url "$2" --key-file /key --output /tmp/demo >"$work/job" \
        || { cat "$work/job"; fail "the main job"; }
    tail -n 1 "$work/job"
    grep -q '72 of 72 images ingested' "$work/job" || fail "not every picture was ingested"
}

say "Compose takes the files"
docker compose config --quiet
COMPOSE_FILE=docker-compose.yml:deploy/own-servers.yml docker compose config --services >"$work/own"
! grep -qE '^(redis|mongo)$' "$work/own" || fail "deploy/own-servers.yml leaves servers in"

say "From nothing, one command builds the image once and starts all"
docker image rm $IMAGE >"$work/rm" 2>&1 || true
docker compose up --detach --wait >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "up --wait"; }
docker image inspect --format '{{.Size}}' $IMAGE | awk '{printf "image: %.0f MB\n", $1 / 1e6}'
await_ready "$API"

say "An index without CPU-only builds fails the build, and is told what it must have"
! docker build --target cpu --build-arg TORCH_INDEX_URL=file:///nowhere . >"$work/torch" 2>&1 \
    || fail "an index without +cpu builds was taken"
grep -o 'must have torch==.*+cpu' "$work/torch" | head -n 1 || fail "the wanted version is not told"

say "What is installed is pinned"
docker run --rm --volume "$PWD:/checkout:ro" --workdir /checkout $IMAGE python deploy/check_pins.py \
    || fail "constraints.txt lacks these"

say "A call without a key is refused, and the main job has one"
call none list_collections '{}' | grep -q '"10042"' || fail "a call from outside was answered"
key=$(docker compose exec -T api snapsku users add shop | member "['api_key']")
main_job ${NAME}_front http://api:8000 "$key"
docker compose exec -T api snapsku doctor | tee "$work/doctor" | grep flower || cat "$work/doctor"
! grep WRONG "$work/doctor" || fail "doctor"

say "Flower asks for the password that it made"
password=$(docker compose exec -T flower cat /data/flower.password)
status() { curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@"; }
[ "$(status "$FLOWER/")" = 401 ] || fail "Flower lets everybody in"
[ "$(status --user "admin:$password" "$FLOWER/")" = 200 ] || fail "Flower refuses its password"
docker compose logs >"$work/logs" 2>&1
docker compose ps --quiet | xargs docker inspect >"$work/inspected"
! grep -qF -e "$password" -e "$key" "$work/logs" "$work/inspected" || fail "a secret is shown"

say "No process writes outside its volumes, and three have no way out"
for kind in api fetch vision search index maintenance beat flower; do
    ! docker compose exec -T $kind touch /srv/snapsku/written 2>"$work/touch" || fail "$kind writes"
    grep -q 'Read-only file system' "$work/touch" || fail "$kind: $(cat "$work/touch")"
    docker compose exec -T $kind touch /tmp/written || fail "$kind has no /tmp"
done
for kind in index maintenance beat; do
    ! docker compose exec -T $kind grep -qE '^\S+\s+00000000\s' /proc/net/route \
        || fail "$kind reaches other networks"
done

say "A secret comes from a file"
install -d -m 0755 "$work/secrets"
printf 'from-a-file-%s\n' "$RANDOM$RANDOM" >"$work/secrets/flower_password"
chmod 0755 "$work" && chmod 0444 "$work/secrets/flower_password"
cat >"$work/secret.yml" <<END
services:
  flower:
    environment: {SNAPSKU_FLOWER_PASSWORD_FILE: /run/secrets/flower_password}
    volumes: ["$work/secrets:/run/secrets:ro"]
END
COMPOSE_FILE=$COMPOSE_FILE:$work/secret.yml docker compose up --detach --wait flower >"$work/up" 2>&1 \
    || { cat "$work/up" >&2; fail "up flower"; }
password=$(cat "$work/secrets/flower_password")
[ "$(status --user "admin:$password" "$FLOWER/")" = 200 ] || fail "Flower refuses that password"
docker compose ps --quiet | xargs docker inspect >"$work/inspected"
! grep -qF "$password" "$work/inspected" || fail "docker inspect shows the password"

say "A backup, everything lost, and a restore, as docs/back-up.md says"
mkdir "$work/backups" && chmod 0777 "$work/backups"
docker compose run --rm --no-deps -T --volume "$work/backups:/backups" api \
    snapsku backup /backups/check.zip
docker compose cp api:/data/secret.key "$work/secret.key"
before=$(call "$key" list_collections '{}' | member "['result']['collection_list'][0]['image_count']")
docker compose down --volumes --timeout 40 >"$work/down" 2>&1
docker compose up --detach --wait redis mongo >"$work/up" 2>&1 \
    || { cat "$work/up" >&2; fail "up redis mongo"; }
docker compose run --rm -T --volume "$work/backups:/backups" api snapsku restore /backups/check.zip
docker compose run --rm --no-deps -T --entrypoint sh api -c 'umask 077; cat >/data/secret.key' \
    <"$work/secret.key"
docker compose up --detach --wait >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "up again"; }
await_ready "$API"
after=$(call "$key" list_collections '{}' | member "['result']['collection_list'][0]['image_count']")
[ "$before" = 72 ] && [ "$after" = 72 ] || fail "$before images before, $after after"
main_job ${NAME}_front http://api:8000 "$key"
docker compose down --volumes --timeout 40 >"$work/down" 2>&1

say "Everything in one container"
one() { docker exec --interactive $NAME-one "$@"; }
started=$SECONDS
docker run --detach --name $NAME-one --init --read-only --tmpfs /tmp --stop-timeout 75 \
    --publish "127.0.0.1:$API_PORT:8000" --publish "127.0.0.1:$FLOWER_PORT:5555" \
    --volume $NAME-one:/data --env SNAPSKU_HOST=0.0.0.0 $IMAGE snapsku up >"$work/id"
await_ready "$API"
echo "ready after $((SECONDS - started)) s"
call none list_collections '{}' | grep -q '"10042"' || fail "a call from outside was answered"
key=$(one snapsku users add shop | member "['api_key']")
main_job container:$NAME-one http://127.0.0.1:8000 "$key"
docker stats --no-stream --format 'memory: {{.MemUsage}}' $NAME-one
one snapsku doctor >"$work/doctor" || { cat "$work/doctor" >&2; fail "doctor in the one container"; }
[ "$(status --user "admin:$(one cat /data/flower.password)" "$FLOWER/")" = 200 ] || fail "Flower"
docker stop $NAME-one >"$work/id"
[ "$(docker inspect --format '{{.State.ExitCode}}' $NAME-one)" = 0 ] || fail "it did not stop well"
docker start $NAME-one >"$work/id"
await_ready "$API"
after=$(call "$key" list_collections '{}' | member "['result']['collection_list'][0]['image_count']")
[ "$after" = 72 ] || fail "$after images after a restart"
one snapsku backup /data/one.zip
docker cp $NAME-one:/data/one.zip "$work/backups/one.zip"
chmod 0644 "$work/backups/one.zip"
docker run --rm --volume $NAME-two:/data --volume "$work/backups:/backups" $IMAGE \
    snapsku restore /backups/one.zip
say "passed"
