// What systemd is told of the service: ready, stopping, still alive. Nothing happens outside
// systemd.
#pragma once

#include "base/time.hpp"

#include <optional>
#include <string>

namespace waggle::node {

/// Sends `state` ("READY=1", "STOPPING=1", "WATCHDOG=1") to $NOTIFY_SOCKET, if there is one.
/// @source sd_notify(3)
void notify_service_manager(const std::string& state);

/// How often WATCHDOG=1 is due: half of $WATCHDOG_USEC; nullopt when no watchdog is set for this
/// process.
[[nodiscard]] std::optional<Duration> watchdog_interval();

}  // namespace waggle::node
