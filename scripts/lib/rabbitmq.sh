# shellcheck shell=bash
# RabbitMQ, from Debian's package; private nodes need neither its user nor its directories. Sourced after servers.sh and
# run-server.sh.

RABBITMQ_BIN=/usr/lib/rabbitmq/bin

rabbitmq_uri() { echo amqp://guest:guest@127.0.0.1:5672/%2f; }
# AMQP, distribution, name service: a node of its own, which meets no other node of this machine.
rabbitmq_ports() { echo 5672 25672 24369; }
rabbitmq_installed() { [ -x "$RABBITMQ_BIN/rabbitmq-server" ] && have epmd; }
install_rabbitmq() { install_server_packages rabbitmq-server; }

# What a node and its command line must agree on.
rabbitmq_environment() { # directory, port, distribution port, epmd port
  cat <<E
export HOME='$1' RABBITMQ_NODENAME='gantry-$2@localhost' RABBITMQ_NODE_PORT=$2 RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export RABBITMQ_DIST_PORT=$3 ERL_EPMD_PORT=$4 ERL_EPMD_ADDRESS=127.0.0.1
export RABBITMQ_CTL_DIST_PORT_MIN=0 RABBITMQ_CTL_DIST_PORT_MAX=0
export RABBITMQ_MNESIA_BASE='$1/data' RABBITMQ_LOG_BASE='$1/log.d' RABBITMQ_LOGS=-
export RABBITMQ_CONFIG_FILE='$1/rabbitmq' RABBITMQ_CONF_ENV_FILE='$1/none' RABBITMQ_ENABLED_PLUGINS_FILE='$1/enabled_plugins'
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none'
E
}

run_rabbitmq() { # directory, port, distribution port, epmd port
  local dir=$1
  mkdir -p "$dir/data" "$dir/log.d"
  rabbitmq_environment "$@" >"$dir/environment"
  printf '#!/bin/sh\n. "%s/environment"\nexec %s/rabbitmqctl "$@"\n' "$dir" "$RABBITMQ_BIN" >"$dir/rabbitmqctl"
  chmod +x "$dir/rabbitmqctl"
  echo '[].' >"$dir/enabled_plugins"
  : >"$dir/rabbitmq.conf"
  # shellcheck source=/dev/null
  . "$dir/environment"
  child TERM epmd -port "$4" -address 127.0.0.1
  # A node that finds no name service starts one as a daemon: nobody's child, which keeps the port from ours for ever.
  wait_for 60 epmd -port "$4" -names || die "epmd does not answer on port $4"
  # Told that something supervises it, the script becomes the node instead of staying in front of it.
  child TERM env RUNNING_UNDER_SYSTEMD=true "$RABBITMQ_BIN/rabbitmq-server"
}
