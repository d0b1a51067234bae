"""Front ends: a media file becomes 16 kHz sound, mouth crops and features."""
