# Stop the running application, if any, and start this one. It outlives its caller.
# Usage, in the folder of the application: PYTHON=… sh restart.sh DATA
set -eu
data=$1 app=$PWD/app.py

runs() {  # the pid may belong to another process by now
    grep -qsF "$app" "/proc/$1/cmdline"
}

old=$(cat "$data/app.pid" 2>/dev/null || echo none)
if runs "$old"; then
    kill "$old"
    while runs "$old"; do sleep 0.1; done
fi
setsid "$PYTHON" "$app" "$PWD/settings.json" >"$data/app.log" 2>&1 </dev/null &
echo $! >"$data/app.pid"
