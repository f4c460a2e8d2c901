#!/usr/bin/env bash
# tour.sh RUNTIME VOLUME: what podman's users do, on the image bb; PODMAN has the flags of the place.
. "$(dirname "$0")/../lib.sh"
runtime=$1 volume=$2
read -r -a flags <<<"${PODMAN:-}"
podman() { command podman "${flags[@]}" --runtime "$runtime" "$@"; }
try() { step podman run --rm --network none "$@"; }
try bb cat /proc/self/uid_map
try --read-only bb sh -c 'exec 2>&1; touch /x; touch /tmp/y && echo written'
try --tmpfs /etc:size=1m bb sh -c 'ls /etc; touch /etc/new && echo written'
try -v "$volume:/mnt:rslave" bb cat /mnt/file
try -v "$volume:/mnt:ro" bb touch /mnt/new
try --userns keep-id bb id -u
try --cap-drop all bb grep Cap /proc/self/status
try --cap-add SYS_ADMIN --security-opt seccomp=unconfined bb grep -E 'Seccomp:|CapEff' /proc/self/status
try bb grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status
try --security-opt no-new-privileges bb grep NoNewPrivs /proc/self/status
try -t bb tty
try --init bb sh -c 'kill -TERM $$'
try --user 1000:5 bb id
try --group-add 7 bb id -G
try --device /dev/fuse bb ls /dev/fuse
try --hostname here bb hostname
try --umask 0027 bb sh -c umask
try bb nosuch
try bb /etc/passwd
try bb sh -c 'exit 42'
step podman run -d --name tour --network none --health-cmd 'true' --health-interval disable bb sleep 100 | sed 's/^[0-9a-f]\{64\}$/ID/'
step podman exec tour id -u
step podman exec -t tour tty
step podman exec -u 1000:5 -w /tmp -e A=b tour sh -c 'id -u; pwd; echo $A'
step podman exec tour sh -c 'exit 3'
step podman exec tour nosuch
step podman exec tour grep -E 'Seccomp:|NoNewPrivs|CapEff' /proc/self/status
step podman healthcheck run tour
step podman top tour user pid args
step podman kill -s USR1 tour
step podman inspect -f '{{.State.Status}}' tour
step podman stop -t 0 tour
step podman inspect -f '{{.State.ExitCode}}' tour
step podman rm tour
step podman pod create --name pod --network none --infra-image bb --infra-command 'sleep 100' | sed 's/^[0-9a-f]\{64\}$/ID/'
step podman run --rm --pod pod bb sh -c 'hostname; ls /proc/1/ns | head -n 1'
step podman pod rm -f -t 0 pod | sed 's/^[0-9a-f]\{64\}$/ID/'
# What needs cgroups of one's own.
[ "$(id -u)" = 0 ] || exit 0
step podman run -d --name tour --network none --memory 64m --pids-limit 50 bb sleep 100 | sed 's/^[0-9a-f]\{64\}$/ID/'
step podman stats --no-stream --format '{{.Name}} {{.PIDS}}' tour
step podman stats --no-stream --format '{{.MemUsage}}' tour | sed 's/^[0-9.]*[kM]B/N/'
step podman container checkpoint tour
step podman inspect -f '{{.State.Status}}' tour
step podman container restore tour
step podman exec tour cat /proc/1/cmdline
step podman pause tour
step podman inspect -f '{{.State.Status}}' tour
step podman exec tour true | sed 's/[0-9a-f]\{64\}/ID/'
step podman unpause tour
step podman inspect -f '{{.State.Status}}' tour
step podman rm -f -t 0 tour | sed 's/^[0-9a-f]\{64\}$/ID/'
