# Python imports this by itself at start. The emulator answers a function's runtime over small writes; with Nagle's
# algorithm each of them waits for the other side's delayed acknowledgement (40 ms).
import socketserver

socketserver.StreamRequestHandler.disable_nagle_algorithm = True
