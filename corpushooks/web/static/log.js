// Follows the log of a deployment that runs. What is there already came with the page.
"use strict";
(() => {
    const log = document.getElementById("log"), state = document.getElementById("state");
    let offset = log.dataset.offset, source;

    const open = () => {
        source = new EventSource(`${log.dataset.log}?offset=${encodeURIComponent(offset)}`);
        source.addEventListener("open", () => { state.textContent = "Following it live."; });
        source.addEventListener("log", (event) => {
            const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
            const text = JSON.parse(event.data).text;
            offset = event.lastEventId;
            if (text) log.append(`${text}\n`);
            if (low) log.scrollTop = log.scrollHeight;
        });
        source.addEventListener("end", () => { source.close(); location.reload(); });
        source.addEventListener("refused", (event) => {
            source.close();
            state.textContent = JSON.parse(event.data).detail;
        });
        source.addEventListener("error", () => {
            state.textContent = "Connection lost; reconnecting.";
            if (source.readyState === EventSource.CLOSED) setTimeout(again, 1000);
        });
    };
    const again = () => {  // it was refused: whoever is signed out is led to where they sign in, and back here
        fetch(location.href, {redirect: "manual"}).then(
            (answer) => { if (answer.type === "opaqueredirect") location.reload(); else setTimeout(open, 2000); },
            () => { setTimeout(again, 2000); },
        );
    };
    log.scrollTop = log.scrollHeight;
    open();
})();
