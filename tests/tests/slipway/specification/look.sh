# Prints the view of a container, a line each: a key, and a value.
keys=' Umask Uid Gid Groups NoNewPrivs Seccomp Seccomp_filters CapInh CapPrm CapEff CapBnd CapAmb SigBlk SigIgn Cpus_allowed_list Mems_allowed_list '
while IFS= read -r line; do
  case $keys in *" ${line%%:*} "*) echo "status $line" ;; esac
done </proc/self/status
while IFS= read -r line; do echo "limit $line"; done </proc/self/limits
tr '\0' '\n' <"/proc/$$/environ" | sed 's/^/environment /'
echo "directory $(readlink "/proc/$$/cwd")"
echo "hostname $(cat /proc/sys/kernel/hostname) $(cat /proc/sys/kernel/domainname)"
for kind in cgroup ipc mnt net pid time user uts pid_for_children time_for_children; do
  grep -qx "$(readlink "/proc/$$/ns/$kind")" /host-namespaces && echo "namespace $kind the host's" || echo "namespace $kind its own"
done
places=
while read -r _ _ _ root place options rest; do
  case $place in
  # Their order is chance under runc, or does not matter.
  /dev/null | /dev/zero | /dev/full | /dev/tty | /dev/random | /dev/urandom | /sys/fs/cgroup/* | /proc/* | /sys/firmware) ;;
  *) case "$places " in *" $place "*) ;; *) places="$places $place" ;; esac ;;
  esac
  marks=$(echo "${rest%% - *}" | tr -d '0-9' | sed 's/^- .*//')
  set -- ${rest##*- }
  echo "mount $place $root $options $marks $1 $2 $3"
done </proc/self/mountinfo
echo "mounts$places"
sed 's/^/cgroup /' /proc/self/cgroup
for file in pids.max memory.max memory.high memory.low memory.swap.max cpu.max cpu.weight cpu.idle cpuset.cpus cpuset.mems io.max io.weight hugetlb.2MB.max \
  pids/pids.max memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.shares cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpuset/cpuset.cpus \
  devices/devices.list blkio/blkio.throttle.read_bps_device; do
  [ -e "/sys/fs/cgroup/$file" ] && echo "file $file $(cat "/sys/fs/cgroup/$file" 2>&1 | tr '\n' ';')"
done
for file in kernel/shmmni kernel/msgmax kernel/sem net/ipv4/ip_forward net/ipv4/ping_group_range net/ipv4/ip_unprivileged_port_start; do
  echo "sysctl $file $(cat /proc/sys/$file 2>&1)"
done
for file in oom_score_adj personality timerslack_ns uid_map gid_map setgroups timens_offsets; do
  echo "process $file $(cat "/proc/$$/$file" 2>&1 | tr -s ' \n' ' ;')"
done
set -- $(sed 's/.*) //' "/proc/$$/stat")
echo "scheduler nice ${17} priority ${38} policy ${39}"
echo "io priority $(ionice -p $$ 2>&1)"
echo "memory policy $(sed -n '1s/^[^ ]* \([^ ]*\).*/\1/p' "/proc/$$/numa_maps" 2>&1)"
for fd in "/proc/$$/fd"/*; do
  case $(readlink "$fd") in pipe:* | socket:*) to=pipe ;; *) to=$(readlink "$fd") ;; esac
  echo "descriptor ${fd##*/} $to"
done
stat -c 'node %n %F %a %u %g %t:%T' /dev/* /dev/[!f]*/* / /etc /mnt /opt /tmp /proc /sys /sys/fs/cgroup 2>/dev/null
for link in /dev/fd /dev/stdin /dev/stdout /dev/stderr /dev/core /dev/ptmx; do echo "link $link $(readlink $link)"; done
stat -c 'stream %F %a %u %g' -L /proc/self/fd/1
for file in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/acpi /proc/scsi /sys/firmware /proc/interrupts; do
  if [ -d $file ]; then echo "masked $file $(ls $file 2>&1 | wc -l) names"; else echo "masked $file $(head -c 1 $file 2>&1 | wc -c)"; fi
done
for file in /x /dev/x /dev/shm/x /sys/x /tmp/x /mnt/x /proc/sysrq-trigger /etc/x; do
  (: >$file) 2>/dev/null && echo "written $file" || echo "not written $file"
done
ip -o addr show lo 2>&1 | sed 's/^/loopback /'
echo "machine $(uname -m)"
exit 7
