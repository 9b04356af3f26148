// A bare C++ gRPC echo: what gRPC's C++ server costs when nothing is scored.
//
// Usage: echo PORT. The asynchronous generic service on one completion queue and one thread: messages stay the slices
// that came in, so nothing is parsed or copied. /bench.Echo/Echo gives the message back, /bench.Echo/Count says in
// eight bytes, big-endian, how many were given back.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <string>

namespace {

std::uint64_t echoed = 0;

grpc::ByteBuffer count() {
  char bytes[8];
  for (int at = 0; at < 8; ++at) bytes[at] = static_cast<char>(echoed >> (56 - 8 * at));
  grpc::Slice slice(bytes, sizeof bytes);
  return grpc::ByteBuffer(&slice, 1);
}

// One call, from its arrival to the end of its reply; it owns itself and waits for the next one to come.
class Call {
 public:
  Call(grpc::AsyncGenericService* service, grpc::ServerCompletionQueue* queue)
      : service_(service), queue_(queue), stream_(&context_) {
    service_->RequestCall(&context_, &stream_, queue_, queue_, this);
  }

  void Go(bool ok) {
    if (state_ == kAccept) {
      if (!ok) return Done();
      new Call(service_, queue_);
      state_ = kRead;
      stream_.Read(&message_, this);
    } else if (state_ == kRead && ok) {
      state_ = kFinish;
      const bool is_count = context_.method() == "/bench.Echo/Count";
      if (is_count) message_ = count(); else ++echoed;
      stream_.WriteAndFinish(message_, grpc::WriteOptions(), grpc::Status::OK, this);
    } else {
      Done();  // answered, or the caller went away
    }
  }

 private:
  enum State { kAccept, kRead, kFinish };

  void Done() { delete this; }

  grpc::AsyncGenericService* service_;
  grpc::ServerCompletionQueue* queue_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_;
  grpc::ByteBuffer message_;
  State state_ = kAccept;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: echo PORT\n";
    return 64;
  }
  grpc::AsyncGenericService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(std::string("127.0.0.1:") + argv[1], grpc::InsecureServerCredentials());
  builder.RegisterAsyncGenericService(&service);
  std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (!server) return 1;
  new Call(&service, queue.get());
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->Go(ok);
  return 0;
}
