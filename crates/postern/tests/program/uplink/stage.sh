# A host with one way out: $1 is a folder, $2 python3, $3 the outside world's program, the rest what to become.
set -eu
folder=$1 python=$2 outside=$3
shift 3
ip link set lo up
# An address of the host's that is not on the way out.
ip address add 198.51.100.7/32 dev lo
printf 'nameserver 203.0.113.53\n' > "$folder/resolv.conf"
mount --bind "$folder/resolv.conf" /etc/resolv.conf
echo '0 0' > /proc/sys/net/ipv4/ping_group_range
unshare --net "$python" "$outside" outside "$folder" &
there=$!
while [ "$(readlink /proc/$there/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add up0 type veth peer name out0 netns "$there"
ip link add down0 type veth peer name down1
ip address add 203.0.113.1/24 dev up0
ip link set up0 up
ip route add default via 203.0.113.7
# An address that is the host's only for what is sent by the way out.
ip rule add oif up0 lookup 100
ip route add local 192.0.2.50/32 dev up0 table 100
"$python" "$outside" host "$folder" &
while [ ! -e "$folder/outside" ] || [ ! -e "$folder/host" ]; do sleep 0.01; done
exec "$@"
