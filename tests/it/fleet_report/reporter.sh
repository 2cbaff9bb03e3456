#!/bin/sh
# A reporter as they grow in the field: no jq, no agent, one printf.
# usage: reporter.sh INSTANCE_ID INSTANCE_NAME APP_VERSION [CONF_FILE...]
instance_id=$1
instance_name=$2
app_version=$3
shift 3

value() {
    sed -n "s/^$1 *= *//p" "$2"
}

processes=
for conf in "$@"; do
    a=$(value module_A_filename "$conf")
    b=$(value module_B_filename "$conf")
    processes="$processes${processes:+, }{ \"name\": \"$(basename "$conf" .conf)\", \"module_A_filename\": \"$a\", \"module_B_filename\": \"$b\" }"
done

cat <<REPORT
{
  "update_date": "$(TZ=JST-9 date +%Y-%m-%dT%H:%M:%S%z)",
  "os_start_date": "$(TZ=JST-9 date '+%Y-%m-%d %H:%M:%S')",
  "instance_id": "$instance_id",
  "instance_name": "$instance_name",
  "instance_type": "m6i.large",
  "instance_life_cycle": "ondemand",
  "app_version": "$app_version",
  "processes": [ $processes ]
}
REPORT
