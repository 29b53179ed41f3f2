// The one translation unit with Asio's function bodies, TLS included: every driver library shares
// it, so that none of them compiles Asio itself. Only drivers and tests link it (asio_dep).
#include <boost/asio/impl/src.hpp>
#include <boost/asio/ssl/impl/src.hpp>
