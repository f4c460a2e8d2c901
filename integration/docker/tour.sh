#!/usr/bin/env bash
# tour.sh RUNTIME VOLUME: what docker's users do, on the image bb of the daemon at DOCKER_HOST.
. "$(dirname "$0")/../lib.sh"
runtime=$1 volume=$2
docker() { command docker "$@"; }
try() { step docker run --rm --network none --runtime "$runtime" "$@"; }
try bb id
try --ulimit nofile=1000:1024 bb sh -c 'ulimit -n; ulimit -Hn'
try --read-only --tmpfs /tmp:size=64k bb sh -c 'exec 2>&1; touch /x; touch /tmp/y && echo written'
try bb nosuch
try bb /etc/passwd
try bb sh -c 'exit 42'
try --init bb sh -c 'kill -TERM $$'
try bb sh -c 'grep -E "Seccomp:|NoNewPrivs|Cap" /proc/self/status'
try --security-opt seccomp=unconfined --cap-add SYS_ADMIN --cap-drop KILL bb grep -E 'Seccomp:|CapEff' /proc/self/status
try --security-opt no-new-privileges bb grep NoNewPrivs /proc/self/status
try -v "$volume:/mnt:ro" bb sh -c 'exec 2>&1; cat /mnt/file; touch /mnt/new'
try -v "$volume:/mnt:rslave" bb cat /mnt/file
try --mount "type=bind,source=$volume,target=/mnt,bind-propagation=rprivate" bb cat /mnt/file
try --user 1000:1000 --group-add 5 bb id
try --workdir /nosuch/yet bb pwd
try --hostname here --sysctl net.ipv4.ip_forward=1 bb sh -c 'hostname; cat /proc/sys/net/ipv4/ip_forward'
try --device /dev/fuse bb ls /dev/fuse
try --shm-size 1m bb sh -c 'df -k /dev/shm | tail -n 1 | tr -s " " | cut -d" " -f 2'
try -t bb tty
try --pid host bb sh -c 'test -d /proc/$PPID && echo host'
step docker run -d --name tour --network none --runtime "$runtime" --memory 64m --memory-swap 64m --pids-limit 50 bb sleep 100 | sed 's/^[0-9a-f]\{64\}$/ID/'
step docker exec tour id
step docker exec -t tour tty
step docker exec -u 1000:5 -w /tmp -e A=b tour sh -c 'id; pwd; echo $A'
step docker exec tour sh -c 'exit 3'
step docker exec tour nosuch
step docker exec tour grep -E 'Seccomp:|NoNewPrivs|Cap' /proc/self/status
step docker stats --no-stream --format '{{.Name}} {{.PIDs}}' tour
step docker update --memory 80m --memory-swap 80m --pids-limit 60 tour
step docker stats --no-stream --format '{{.MemUsage}}' tour | sed 's/^[0-9.]*[KM]iB/N/'
step docker pause tour
step docker inspect -f '{{.State.Status}}' tour
step docker exec tour true
step docker unpause tour
step docker inspect -f '{{.State.Status}}' tour
step docker top tour -o pid,args | sed 's/^[0-9]* */PID /'
step docker kill -s USR1 tour
step docker restart -t 0 tour
step docker stop -t 0 tour
step docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' tour
step docker rm tour
compose=$(mktemp -d)
trap 'rm -rf "$compose"' EXIT
cat >"$compose/docker-compose.yml" <<END
version: "2.4"
services:
  one: {image: bb, runtime: $runtime, network_mode: none, command: sleep 100, stop_grace_period: 0s}
  two: {image: bb, runtime: $runtime, network_mode: none, command: sh -c 'echo up; exit 3', depends_on: [one]}
END
compose() { docker-compose --ansi never -p tour -f "$compose/docker-compose.yml" "$@" 2>/dev/null; }
step compose up -d
step compose exec -T one id
sleep 1
step compose logs --no-color two
step compose ps --services --filter status=running
step compose down -t 0
