#!/bin/bash
# The first process of a host: lays out its file systems, then keeps its services running. `init.sh DISK NAME`.
#
# DISK outlives the host's power: /etc, /var, /opt and /tmp are on it. /run is new at each boot. A service is a file in
# /etc/host/services whose one line is its command; what it prints goes to /var/log/<service>.log. They start once
# /run/host/network exists, and again a second after their end, unless /run/host/stopped/<service> exists. SIGKILL to
# this process is a power cut; SIGTERM ends the services first, in the order that systemd would: all at once.
set -eu
disk=$1 name=$2

format() {
  mkdir -p "$disk"/{etc,etc-work,var,opt,tmp} "$disk"/var/{lib,log,tmp,cache}
  chmod 1777 "$disk/tmp" "$disk/var/tmp"
  ln -s /run "$disk/var/run"
  # Whiteouts: what a node of this machine's own may have there.
  for hidden in cni sotto kubernetes containerd; do mknod "$disk/etc/$hidden" c 0 0; done
  tr -d - </proc/sys/kernel/random/uuid >"$disk/etc/machine-id"
  echo "$name" >"$disk/etc/hostname"
  touch "$disk/formatted"
}

# Every hierarchy that this kernel has, with the host's own group as its root.
mount_control_groups() {
  local controllers version1=
  while IFS=: read -r _ controllers _; do
    [ -n "$controllers" ] || continue
    [ -n "$version1" ] || mount -t tmpfs tmpfs /sys/fs/cgroup
    version1=1
    local folder=/sys/fs/cgroup/${controllers#name=}
    mkdir -p "$folder"
    mount -t cgroup -o "${controllers/#name=/none,name=}" cgroup "$folder"
  done </proc/self/cgroup
  [ -z "$version1" ] || return 0
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  # Controllers are handed down by groups without processes alone.
  mkdir -p /sys/fs/cgroup/init
  echo 1 >/sys/fs/cgroup/init/cgroup.procs
  sed 's/\</+/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
}

# What a kubelet would set in the kernel of this machine, which is not the host's: it finds it as it wants it.
hide_kernel_settings() {
  mkdir -p /run/host/sys
  while read -r setting value; do
    [ -e "/proc/sys/$setting" ] || continue
    echo "$value" >"/run/host/sys/${setting//\//.}"
    mount --bind "/run/host/sys/${setting//\//.}" "/proc/sys/$setting"
  done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
}

keep() {
  local service=$1
  while :; do
    if [ ! -e "/run/host/stopped/$service" ]; then
      eval "exec $(cat "/etc/host/services/$service")" >>"/var/log/$service.log" 2>&1 &
      echo $! >"/run/host/$service.pid"
      wait $! || echo "init: $service ended with $?" >>"/var/log/$service.log"
    fi
    sleep 1
  done
}

[ -e "$disk/formatted" ] || format
mount -t proc proc /proc
mount -t overlay -o "lowerdir=/etc,upperdir=$disk/etc,workdir=$disk/etc-work" overlay /etc
for folder in var opt; do mount --bind "$disk/$folder" "/$folder"; done
mount -t tmpfs tmpfs /run
# Captures of the host's wires are written where the lab keeps its files, which is below the machine's own /tmp.
lab=${disk%/*/*}
mkdir -p /run/host/lab
mount --bind "$lab" /run/host/lab
mount --bind "$disk/tmp" /tmp
mkdir -p "$lab"
mount --bind /run/host/lab "$lab"
mkdir -p /run/netns /run/lock /run/host/stopped
mount -t sysfs sysfs /sys
mount_control_groups
hide_kernel_settings
hostname "$name"
# Containers' mounts have to reach where kubelet shows them.
mount --make-rshared /
ulimit -Sn "$(ulimit -Hn)"

touch /run/host/booted
until [ -e /run/host/network ]; do sleep 0.05; done
for service in /etc/host/services/*; do keep "${service##*/}" & done
trap 'kill -TERM -1; sleep 1; exit 0' TERM
while :; do wait || true; done
