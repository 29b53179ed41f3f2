"""One libtorrent client: METAINFO FOLDER ADDRESS:PORT DONE. Creates the file DONE once it has all, and seeds on."""

import sys

import libtorrent

metainfo, folder, listen, done = sys.argv[1:]
session = libtorrent.session({
    "listen_interfaces": listen, "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "out_enc_policy": int(libtorrent.enc_policy.pe_disabled), "in_enc_policy": int(libtorrent.enc_policy.pe_disabled),
    "alert_mask": libtorrent.alert.category_t.status_notification | libtorrent.alert.category_t.error_notification})
parameters = libtorrent.add_torrent_params()
parameters.ti, parameters.save_path = libtorrent.torrent_info(metainfo), folder
session.add_torrent(parameters)
while True:
    session.wait_for_alert(60_000)
    for alert in session.pop_alerts():
        print(alert, flush=True)
        if isinstance(alert, libtorrent.torrent_finished_alert) and done != "-":
            open(done, "w").close()
            done = "-"
