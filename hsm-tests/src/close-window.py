"""Asks the window whose number is the argument to close, as a window manager does (ICCCM, WM_DELETE_WINDOW)."""
import ctypes
import sys

x11 = ctypes.CDLL("libX11.so.6")
x11.XOpenDisplay.restype = ctypes.c_void_p
x11.XInternAtom.restype = ctypes.c_ulong
number = ctypes.c_ulong


class ClientMessage(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int), ("serial", number), ("send_event", ctypes.c_int), ("display", ctypes.c_void_p),
        ("window", number), ("message_type", number), ("format", ctypes.c_int), ("data", ctypes.c_long * 5),
        # An XEvent is this long.
        ("pad", ctypes.c_long * 24),
    ]


display = ctypes.c_void_p(x11.XOpenDisplay(None))
protocols, delete = (x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
event = ClientMessage(type=33, window=int(sys.argv[1]), message_type=protocols, format=32)
event.data[0] = delete
x11.XSendEvent(display, number(int(sys.argv[1])), 0, ctypes.c_long(0), ctypes.byref(event))
x11.XCloseDisplay(display)
