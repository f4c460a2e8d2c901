# Shared by the tours. Sourced; says each command, what it printed, and its status.
step() {
  local status=0 output
  printf '$ %s\n' "$*"
  output=$("$@" 2>&1 </dev/null) || status=$?
  printf '%s\n= %s\n' "$output" "$status"
}
