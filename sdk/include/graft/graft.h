/* graft/graft.h - the whole SDK in one include. C11 and C++17. */
#ifndef GRAFT_GRAFT_H
#define GRAFT_GRAFT_H
#include "backend.h"
#include "base.h"
#include "decoder.h"
#include "format.h"
#include "graph.h"
#include "method.h"
#include "model.h"
#include "ops.h"
#include "plugin.h"
#include "dynamic8.h"
#include "packed.h"
#include "random.h"
#endif
