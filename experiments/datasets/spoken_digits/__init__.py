"""Connected spoken digits, made of the clips of the Free Spoken Digit Dataset."""
