#!/bin/sh
# The first time, a copy of the primary; from then on, it is followed. (The password comes from PGPASSWORD.)
set -eu
chmod 0700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    pg_basebackup --host "$PRIMARY" --username replicator --pgdata "$PGDATA" --write-recovery-conf --checkpoint fast
fi
exec postgres -c hot_standby_feedback=on # so that a long snapshot is not cut off
