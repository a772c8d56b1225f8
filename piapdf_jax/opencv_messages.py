"""Silences what OpenCV and its FFmpeg print about damaged files; rows, notes and errors report it instead."""

import os


def silence() -> None:
    """Makes OpenCV quiet, unless the environment says how loud it should be; FFmpeg asks once a process.

    Of films, nothing is fetched from other places, whatever a file says.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
    quiet = os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT") == "SILENT"
    import cv2

    if quiet:  # where it was imported before
        # OpenCV 4 and 5 have it in different places.
        set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
        set_level(0)
