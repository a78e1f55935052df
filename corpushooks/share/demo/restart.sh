# Stop the application that runs, if one does, and start this one. It outlives whoever calls this.
# Usage, in the folder of the application: PYTHON=… sh restart.sh DATA
set -eu
data=$1 app=$PWD/app.py

runs() {  # a pid alone may belong to another process by now
    grep -qsF "$app" "/proc/$1/cmdline"
}

old=$(cat "$data/app.pid" 2>/dev/null || echo none)
if runs "$old"; then
    kill "$old"
    while runs "$old"; do sleep 0.1; done
fi
setsid "$PYTHON" "$app" "$PWD/settings.json" >"$data/app.log" 2>&1 </dev/null &
echo $! >"$data/app.pid"
