// Answers from the catalog: a state, blocks, lists.
#include "transfer/blob_server.hpp"

#include "base/blob_layout.hpp"
#include "base/limits.hpp"
#include "transfer/midstate_sender.hpp"

#include <algorithm>

namespace waggle::transfer {

void BlobServer::handle(TimePoint now, SessionId id, const OpenMessage& message) {
  Session& session = *context_.sessions.find(id);
  const auto complete = context_.complete.find(message.digest);
  if (complete == context_.complete.end()) {
    context_.send(id, RejectMessage{message.tag, std::nullopt, RejectReason::not_found});
    return;
  }
  if (session.served.size() >= limits::swarms_max && !session.served.contains(message.tag)) {
    context_.send(id, RejectMessage{message.tag, std::nullopt, RejectReason::overloaded});
    return;
  }
  session.served[message.tag] = message.digest;
  session.last_used = now;
  context_.send(id, StateMessage{message.tag, complete->second, {.all = true, .chunks = {}}});
}

void BlobServer::handle(TimePoint now, SessionId id, const RequestMessage& message) {
  Session& session = *context_.sessions.find(id);
  const auto served = session.served.find(message.tag);
  const auto complete = served == session.served.end() ? context_.complete.end()
                                                       : context_.complete.find(served->second);
  if (complete == context_.complete.end()) {
    if (served != session.served.end()) session.served.erase(served);
    context_.send(id, RejectMessage{message.tag, std::nullopt, RejectReason::not_found});
    return;
  }
  const BlobLayout layout(complete->second);
  const auto end = std::uint64_t{message.offset} + message.length;
  if (to_value(message.chunk) >= layout.chunk_count() || end > layout.chunk_size(message.chunk)) {
    context_.send(id, RejectMessage{message.tag, message.chunk, RejectReason::not_found});
    return;
  }
  if (message.crec_wanted && layout.chunk_count() > 1) {
    context_.send(id, RejectMessage{message.tag, message.chunk, RejectReason::no_proof});
    return;
  }
  if (context_.config.reports_sent_blocks) {
    if (session.unsent_blocks >= limits::requests_per_peer_max) {
      context_.send(id, BusyMessage{message.tag, 100});
      return;
    }
    ++session.unsent_blocks;
  }
  session.last_used = now;
  context_.stats.upload_bytes += message.length;
  context_.emit(SendBlock{id, message.tag, complete->first, std::nullopt, message.chunk,
                          message.offset, message.length});
}

void BlobServer::handle(TimePoint now, SessionId id, const GetMidstatesMessage& message) {
  Session& session = *context_.sessions.find(id);
  session.last_used = now;
  const auto served = session.served.find(message.tag);
  if (served == session.served.end() || !context_.complete.contains(served->second)) {
    context_.send(id, RejectMessage{message.tag, std::nullopt, RejectReason::not_found});
    return;
  }
  auto& waiters = list_waiters_[served->second];
  const std::pair asked{id, message.tag};
  if (std::ranges::find(waiters, asked) != waiters.end()) return;  // one question, one list
  const auto of_session = std::ranges::count(waiters, id, &std::pair<SessionId, SwarmTag>::first);
  if (waiters.size() >= limits::list_waiters_max ||
      static_cast<std::size_t>(of_session) >= limits::list_waiters_per_session_max) {
    context_.send(id, RejectMessage{message.tag, std::nullopt, RejectReason::no_list});
    return;
  }
  if (waiters.empty()) context_.emit(LoadMidstates{served->second});
  waiters.push_back(asked);
}

void BlobServer::midstates_loaded(const Digest& digest,
                                  const std::optional<std::vector<Midstate>>& midstates) {
  const auto waiting = list_waiters_.find(digest);
  if (waiting != list_waiters_.end()) {
    const auto waiters = std::move(waiting->second);
    list_waiters_.erase(waiting);
    const auto complete = context_.complete.find(digest);
    const bool usable = midstates && complete != context_.complete.end() &&
                        midstates->size() + 1 == BlobLayout(complete->second).chunk_count();
    for (const auto& [session, tag] : waiters) {
      if (usable) {
        send_own_list(context_, {session, tag, complete->second}, digest, *midstates);
      } else {
        context_.send(session, RejectMessage{tag, std::nullopt, RejectReason::no_list});
      }
    }
  }
}

void BlobServer::session_closed(SessionId id) {
  for (auto& [digest, waiters] : list_waiters_) {
    std::erase_if(waiters, [&](const auto& waiter) { return waiter.first == id; });
  }
}

}  // namespace waggle::transfer
