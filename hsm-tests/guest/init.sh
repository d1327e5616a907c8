#!/bin/busybox sh
# The first process in the guest: this machine's files under a layer of memory, then the job, then the end.
set -e
busybox mkdir -p /proc /sys /dev /host /layer /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
while read -r module; do busybox insmod "/modules/$module"; done </modules/order
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /host
busybox mount -t tmpfs layer /layer
busybox mkdir /layer/new /layer/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/layer/new,workdir=/layer/work overlay /root
for folder in proc sys dev; do busybox mount -o move "/$folder" "/root/$folder"; done
for folder in run tmp; do
    busybox mkdir -p "/below/$folder"
    busybox mount -o bind "/root/$folder" "/below/$folder"
    busybox mount -t tmpfs "$folder" "/root/$folder"
    busybox chmod 1777 "/root/$folder"
done
# What the job needs may lie in a folder that was just covered.
while read -r place; do
    case $place in
    /run/* | /tmp/*)
        busybox mkdir -p "/root$place"
        busybox mount -o bind "/below$place" "/root$place"
        ;;
    esac
done </places
busybox mkdir -p /root/dev/pts /root/dev/shm
busybox mount -t devpts devpts /root/dev/pts
busybox mount -t tmpfs shm /root/dev/shm
busybox ip link set lo up
busybox hostname guest
busybox cp /job /root/run/job
set +e
busybox chroot /root /bin/sh /run/job
echo "guest: status $?"
busybox sync
busybox poweroff -f
